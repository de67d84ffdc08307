"""The studio's server: pages and sockets by viser, on loopback, behind the gate. The one file that imports viser.

Pictures are drawn here, by the rasteriser of this machine, and sent as JPEG behind an empty 3D scene whose camera the
browser moves: 30,000 splats are a megabyte a frame, a picture of them some ten kilobytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from bodydouble.core.cameras import Camera
from bodydouble.core.errors import BodydoubleError, ConfigError, MissingDependencyError
from bodydouble.studio.controls import Controls, standpoint
from bodydouble.studio.gate import Gate, new_token
from bodydouble.studio.pace import STILL_SIDE_PX, picture_size
from bodydouble.studio.saving import Keepsake
from bodydouble.studio.scene import Scene, empty_stage, stage_camera
from bodydouble.studio.show import Show
from bodydouble.studio.viewer import Viewer

HOST = "127.0.0.1"
_FOV_RAD = 0.62
_MOVING_QUALITY, _STILL_QUALITY = 84, 94
_PANEL_EVERY_S = 0.15
_LOOK_UP_S = 1.0
"""Windows lets Ctrl-C through only between waits; elsewhere it ends one."""
_BRAND = (32, 150, 138)


class Studio:
    """A running studio. Several browsers may look at once, each with controls of its own."""

    def __init__(self, *, port: int = 0, title: str = "bodydouble", token: str | None = None) -> None:
        """
        Args:
            port: To listen on; 0 takes any that is free.
            title: Over the panel.
            token: What browsers must bring; a fresh one by default.
        Raises:
            MissingDependencyError: Without viser.
            ConfigError: When the port is taken.
        """
        self._token = new_token() if token is None else token
        self._show: Show | None = None
        self._windows: dict[int, _Window] = {}
        self._lock = threading.RLock()
        self._wake, self._stop = threading.Event(), threading.Event()
        self._server = _gated_server(Gate(self._token), port)
        self.port: int = self._server.get_port()
        if port not in (0, self.port):
            self._server.stop()
            raise ConfigError(f"Port {port} is taken by another program. Choose another --port, or leave it out.")
        self._status: tuple[Any, Any] | None = None
        self._dress(title)
        self._server.on_client_connect(self._enter)
        self._server.on_client_disconnect(self._leave)
        self._painter = threading.Thread(target=self._paint, name="studio painter", daemon=True)
        self._painter.start()

    @property
    def url(self) -> str:
        """What to open in a browser on this machine."""
        return f"http://{HOST}:{self.port}/?token={self._token}"

    @property
    def viewers(self) -> int:
        """How many browsers look."""
        return len(self._windows)

    def open(self, show: Show) -> None:
        """Show something else to everybody, from its beginning."""
        with self._lock:
            before, self._show = self._show, show
            self._aim(show)
            for window in self._windows.values():
                window.show(show)
        if before is not None and before is not show:
            before.close()
        self._wake.set()

    def refresh(self, scene: Scene) -> None:
        """Exchange what is drawn, and nothing of what viewers have chosen: another state of the same avatar."""
        with self._lock:
            for window in self._windows.values():
                if window.viewer is not None:
                    window.viewer.scene = scene
                    window.viewer.touch()
            if self._show is not None:
                self._show = dataclasses.replace(self._show, scene=scene)
        self._wake.set()

    def status(self, text: str, share: float | None) -> None:
        """Tell everybody what the program is doing; an empty text takes it away.

        Args:
            text: Markdown.
            share: Of the work that is done, in [0, 1]; none where nobody knows.
        """
        with self._lock:
            if not text:
                for part in self._status or ():
                    part.remove()
                self._status = None
                return
            if self._status is None:
                words = self._server.gui.add_markdown(text, order=-2.0)
                self._status = (words, self._server.gui.add_progress_bar(0.0, order=-1.0, color="teal"))
            words, bar = self._status
            words.content = text
            bar.value = 100.0 * min(max(share or 0.0, 0.0), 1.0)

    def close(self) -> None:
        """End it: pictures, sockets, background work."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._wake.set()
        self._painter.join(timeout=10.0)
        with contextlib.redirect_stdout(io.StringIO()):  # viser says goodbye there
            self._server.stop()
        if self._show is not None:
            self._show.close()

    def wait(self) -> None:
        """Return when it has been closed."""
        while not self._stop.wait(_LOOK_UP_S):
            pass

    # --- inside ---

    def _dress(self, title: str) -> None:
        server = self._server
        server.gui.configure_theme(
            dark_mode=True, control_layout="collapsible", control_width="medium", show_logo=False,
            show_share_button=False, brand_color=_BRAND,
        )  # fmt: skip
        server.gui.set_panel_label(title)
        server.scene.set_up_direction("+y")
        server.scene.world_axes.visible = False
        server.initial_camera.fov = _FOV_RAD
        server.initial_camera.position, server.initial_camera.look_at = (1.1, 1.5, 3.4), (0.0, 0.9, 0.0)

    def _aim(self, show: Show) -> None:
        """New browsers start in front of the person."""
        eye, target = standpoint(show)
        self._server.initial_camera.position, self._server.initial_camera.look_at = eye, target
        self._server.gui.set_panel_label(f"{show.title} · bodydouble")

    def _enter(self, client: Any) -> None:
        with self._lock:
            if client.client_id not in self._server.get_clients():  # gone again already
                return
            window = _Window(client, self._wake)
            self._windows[client.client_id] = window
            if self._show is not None:
                window.show(self._show)
        self._wake.set()

    def _leave(self, client: Any) -> None:
        with self._lock:
            window = self._windows.pop(client.client_id, None)
        if window is not None:
            window.gone = True

    def _paint(self) -> None:
        """Draw what is due, window after window, so that none waits for long and the cores are not shared."""
        while not self._stop.is_set():
            windows = list(self._windows.values())
            busy = [window.paint(len(windows)) for window in windows]
            if not any(busy):
                moves = any(window.moves for window in windows)
                self._wake.wait(0.004 if moves else 0.1)
                self._wake.clear()


class _Window:
    """One browser."""

    def __init__(self, client: Any, wake: threading.Event) -> None:
        self._client, self._wake = client, wake
        self.viewer: Viewer | None = None
        self.gone = False
        self._controls: Controls | None = None
        self._empty_drawn = False
        self._panel_s = 0.0
        client.camera.on_update(self._moved)

    @property
    def moves(self) -> bool:
        """Whether there will be something to draw without anybody doing anything."""
        return self.viewer is not None and self.viewer.shown.moves

    def show(self, show: Show) -> None:
        """Build the panel anew for something else to see."""
        again = self.viewer is not None
        self._client.gui.reset()
        self.viewer = Viewer(show.scene, show.repertoire.fork(), show.first_motion, playing=show.playing)
        self._controls = Controls(self._client.gui, self.viewer, show, self)
        aspect = _aspect(self._client)
        if again or self._empty_drawn or aspect < 1.0:  # others begin at the server's initial camera
            self.stand(*standpoint(show, aspect=aspect))

    def paint(self, viewers: int) -> bool:
        """Draw a picture if one is due, and say whether it was."""
        viewer = self.viewer
        if self.gone:
            return False
        try:
            if viewer is None:
                return self._paint_empty()
            now_s = time.monotonic()
            side = viewer.tick(now_s)
            if side is None:
                return False
            still = side == STILL_SIDE_PX
            picture = viewer.picture(self.camera(side))
            self._send(picture, _STILL_QUALITY if still else _MOVING_QUALITY)
            if not still:
                viewer.pace.note(time.monotonic() - now_s, viewers)
            if self._controls is not None and (still or now_s - self._panel_s > _PANEL_EVERY_S):
                self._panel_s = now_s
                self._controls.follow()
        except BodydoubleError as error:
            self.note("That cannot be drawn", str(error), bad=True)
        except Exception as error:  # noqa: BLE001  (one window's trouble must not end the others')
            self.note("Something went wrong that should not", f"{type(error).__name__}: {error}", bad=True)
        return True

    # --- what the panel asks for (`controls.Desk`) ---

    def note(self, title: str, text: str, *, bad: bool = False) -> None:
        if not self.gone:
            self._client.add_notification(
                title, text, auto_close_seconds=12.0 if bad else 5.0, color="red" if bad else "teal"
            )

    def save(self, keepsake: Keepsake) -> None:
        if not self.gone:
            self._client.send_file_download(keepsake.name, keepsake.content, save_immediately=True)
            self.note(f"{keepsake.name} ({len(keepsake.content) / 1e6:.1f} MB)", keepsake.note)

    def working(self, title: str) -> Callable[[float], bool]:
        note = self._client.add_notification(title, "...", loading=True, with_close_button=False)
        told_s = 0.0

        def tell(share: float) -> bool:
            nonlocal told_s
            now_s = time.monotonic()
            if share >= 1.0 or self.gone:
                note.remove()
            elif now_s - told_s > 0.25:
                told_s = now_s
                note.body = f"{share:.0%}"
            return not self.gone

        return tell

    def camera(self, longest_px: int) -> Camera:
        camera = self._client.camera
        width, height = picture_size((camera.image_width, camera.image_height), longest_px)
        return stage_camera(
            camera.wxyz, camera.position, fov_rad=float(camera.fov), width_px=width, height_px=height
        )  # fmt: skip

    def stand(self, eye_m: tuple[float, float, float], target_m: tuple[float, float, float]) -> None:
        with self._client.atomic():
            self._client.camera.up_direction = (0.0, 1.0, 0.0)
            self._client.camera.position = eye_m
            self._client.camera.look_at = target_m

    # --- inside ---

    def _moved(self, _camera: Any) -> None:
        self._empty_drawn = False
        if self.viewer is not None:
            self.viewer.touch()
        self._wake.set()

    def _paint_empty(self) -> bool:
        if self._empty_drawn:
            return False
        self._empty_drawn = True
        self._send(empty_stage(self.camera(960)), _STILL_QUALITY)
        return True

    def _send(self, picture: np.ndarray, quality: int) -> None:
        if not self.gone:
            self._client.scene.set_background_image(picture, format="jpeg", jpeg_quality=quality)


def _gated_server(gate: Gate, port: int) -> Any:
    """A viser server every request to which goes through the gate first.

    Viser has no hook of its own for this, but websockets, which serves both its page and its socket, has: the function
    that looks at requests. It is put before viser's own while the server starts. Should a later viser start otherwise,
    the gate would not be asked for, and the server is ended at once.
    """
    try:
        import viser
        import websockets.asyncio.server as sockets
    except ImportError as error:
        raise MissingDependencyError(
            "The studio needs viser, which is not installed. Install it with: pip install 'bodydouble[studio]'"
        ) from error
    asked = threading.Event()
    serve = sockets.serve

    def gated_serve(*args: Any, **options: Any) -> Any:
        options["process_request"] = _gated(gate, options.get("process_request"))
        asked.set()
        return serve(*args, **options)

    with _STARTING, contextlib.redirect_stdout(io.StringIO()):  # viser prints an address without the token
        sockets.serve = gated_serve
        try:
            server = viser.ViserServer(host=HOST, port=port, verbose=False)
        finally:
            sockets.serve = serve
    if not asked.is_set():
        server.stop()
        raise MissingDependencyError(
            f"viser {viser.__version__} cannot be guarded by a token. Install a tested one: pip install 'viser>=1.1,<2'"
        )
    server.request_share_url = lambda verbose=True: None  # nothing here goes through a tunnel to other machines
    return server


def _aspect(client: Any) -> float:
    """Width of a browser's window over its height."""
    return max(client.camera.image_width, 1) / max(client.camera.image_height, 1)


_STARTING = threading.Lock()


def _gated(gate: Gate, inner: Any) -> Callable[[Any, Any], Any]:
    """A function that looks at requests: refused ones get 403, the rest go on to `inner`."""
    from websockets.datastructures import Headers
    from websockets.http11 import Response

    def look(connection: Any, request: Any) -> Any:
        verdict = gate.judge(request.path, list(request.headers.raw_items()))
        if not verdict.allowed:
            text = f"{verdict.reason}\n".encode()
            headers = Headers(
                [
                    ("Content-Type", "text/plain; charset=utf-8"),
                    ("Content-Length", str(len(text))),
                    ("Connection", "close"),
                ]
            )
            return Response(403, "Forbidden", headers, text)
        response = None if inner is None else inner(connection, request)
        if response is not None:
            for name, value in _HEADERS:
                response.headers[name] = value
            if verdict.cookie:
                response.headers["Set-Cookie"] = verdict.cookie
        return response

    return look


_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "connect-src 'self' ws://127.0.0.1:* ws://localhost:* data: blob:; frame-ancestors 'self'"
)
"""The page is one file; it asks nobody else for anything, whatever a later viser would like to fetch."""
_HEADERS = (
    ("Referrer-Policy", "no-referrer"),  # the address holds the token
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "SAMEORIGIN"),
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", _POLICY),
)


def until_interrupted(studio: Studio) -> None:
    """Wait until Ctrl-C or until somebody closes the studio; then it is closed."""
    with closing(studio), contextlib.suppress(KeyboardInterrupt):
        studio.wait()


@contextlib.contextmanager
def closing(studio: Studio) -> Iterator[Studio]:
    """Close the studio however the block ends."""
    try:
        yield studio
    finally:
        studio.close()
