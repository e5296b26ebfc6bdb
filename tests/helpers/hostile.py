"Files that lie: cut, damaged, too large, or something else than they say."
import numpy as np

from adafocus.data.video.writing import write_video


def picture(frames, height=96, width=96, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 255, (1, height, width, 3), dtype=np.uint8).repeat(frames, 0) ^ np.arange(frames, dtype=np.uint8)[:, None, None, None]


def spoil(source, target, good, how):
    "Overwrite the packets of an mp4 after the first `good`: with one slice of two missing, or with zeros."
    import av
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container: places = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    for start, size in places[good:]:
        if how == 'zeros': data[start:start + size] = bytes(size)
        else:
            at = start
            if data[at + 4] & 31 == 9: at += 4 + int.from_bytes(data[at:at + 4], 'big')
            data[at + 4] = 0x0c                                          # the first of two slices becomes filling
    target.write_bytes(data)


def sliced(path, frames):
    "An mp4 with two slices a frame."
    import av
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=30, options={'preset': 'fast', 'threads': '1', 'x264-params': 'slices=2'})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], 'yuv420p'
        for frame in frames: container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='rgb24')))
        container.mux(stream.encode())


def faststart(source, target):
    "The same mp4 with its index in front."
    import av
    with av.open(str(source)) as read, av.open(str(target), 'w', options=dict(movflags='faststart')) as write:
        stream = write.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                write.mux(packet)


def liar(source, target):
    "An index that claims two thousand million frames: decord aborts."
    data = bytearray(source.read_bytes())
    at = data.index(b'stts')
    data[at + 12:at + 16] = (2**31 - 1).to_bytes(4, 'big')
    target.write_bytes(data)


def encode(path, sizes, frames=4):
    "An H.264 transport stream whose frames change in size, or of one size."
    import av
    parts = []
    for k, (height, width) in enumerate(sizes):
        part = path.with_name(f'part{k}.ts')
        with av.open(str(part), 'w') as container:
            stream = container.add_stream('libx264', rate=5, options=dict(preset='ultrafast', threads='1', crf='40'))
            stream.height, stream.width, stream.pix_fmt = height, width, 'yuv420p'
            frame = av.VideoFrame(width, height, 'yuv420p')
            for plane in frame.planes: plane.update(bytes(plane.buffer_size))
            for n in range(frames):
                frame.pts = n
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        parts.append(part.read_bytes())
        part.unlink()
    path.write_bytes(b''.join(parts))


def make_files(here):
    "Fill a folder with files, good and bad. Returns the folder."
    write_video(here/'good.mp4', picture(300), 30, preset='fast')
    write_video(here/'one_frame.mp4', picture(1))
    write_video(here/'tiny.mp4', picture(30, 48, 64))
    (here/'empty.mp4').touch()
    (here/'text.mp4').write_text('not a video\n'*80)
    (here/'truncated.mp4').write_bytes((here/'good.mp4').read_bytes()[:20_000])
    sliced(here/'sliced.mp4', picture(300))
    spoil(here/'sliced.mp4', here/'undecodable_tail_silent.mp4', 200, 'slice')
    spoil(here/'good.mp4', here/'undecodable_tail_error.mp4', 200, 'zeros')
    faststart(here/'good.mp4', here/'front.mp4')
    (here/'cut.mp4').write_bytes((here/'front.mp4').read_bytes()[:int(.6*(here/'front.mp4').stat().st_size)])
    liar(here/'tiny.mp4', here/'liar.mp4')
    import av
    with av.open(str(here/'audio_only.mp4'), 'w') as container:
        stream = container.add_stream('aac', rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), 'fltp', 'mono')
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return here
