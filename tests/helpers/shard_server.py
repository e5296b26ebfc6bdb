"Shards for tests, and a server that fails as it is told."
import io
import socket
import tarfile
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


class Server:
    "Serves a folder; `wrong` gets each request's path and count, and may say what goes wrong."
    def __init__(self, folder, wrong):
        self.counts, self.lock = {}, threading.Lock()
        outer = self
        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *args): pass
            def do_GET(self):
                with outer.lock: count = outer.counts[self.path] = outer.counts.get(self.path, 0) + 1
                what = wrong(self.path, count)
                if what == 'error': return self.send_error(503)
                if what is None: return super().do_GET()
                content = open(self.translate_path(self.path), 'rb').read()
                self.send_response(200)
                self.send_header('Content-Length', str(len(content)))
                self.end_headers()
                self.wfile.write(content[:len(content)//2])
                self.wfile.flush()
                if what == 'stall': time.sleep(3)
                else:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')
                    self.connection.close()
        self.http = ThreadingHTTPServer(('127.0.0.1', 0), partial(Handler, directory=str(folder)))
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.address = f'http://127.0.0.1:{self.http.server_port}'

    def __enter__(self): return self
    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()


def member(tar, name, content=b'', **more):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, x in more.items(): setattr(info, key, x)
    tar.addfile(info, io.BytesIO(content))
