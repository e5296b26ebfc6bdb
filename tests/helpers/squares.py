"Videos of one striped square in noise, for tests that teach a small model to look."
import torch

SIZE, SIGN, PATCH, STEPS = 32, 8, 14, 4


def videos(count, generator):
    "Dark noise with one bright square that is striped across (class 0) or along (class 1), somewhere else in each frame."
    frames = .3*torch.randn(count, STEPS, 3, SIZE, SIZE, generator=generator)
    labels = torch.randint(2, (count,), generator=generator)
    corners = torch.randint(SIZE - SIGN + 1, (count, STEPS, 2), generator=generator)
    stripes = 2. + 2*(torch.arange(SIGN) % 4 < 2).float()
    for n in range(count):
        for t in range(STEPS):
            x, y = corners[n, t]
            frames[n, t, :, y:y + SIGN, x:x + SIGN] += stripes[:, None] if labels[n] else stripes[None, :]
    return frames, labels, torch.cat([corners, corners + SIGN], -1).float()
