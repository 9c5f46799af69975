"""The demo's graph and what reads the host's answers. No host."""

import importlib
import importlib.util
import socket
import struct
import threading

import pytest

environment = importlib.import_module("_environment")
websocket = importlib.import_module("_websocket")


@pytest.fixture(scope="module")
def demo():
    path = environment.PACK_ROOT / "scripts" / "demo.py"
    spec = importlib.util.spec_from_file_location("syncdiffusion_demo_command", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_links_of_the_graph_lead_to_its_nodes(demo):
    graph = demo.build_graph("forest", 7, 3)
    for node in graph.values():
        links = [value for value in node["inputs"].values() if isinstance(value, list)]
        assert all(link[0] in graph and isinstance(link[1], int) for link in links)
        assert node["_meta"]["title"]


def test_settings_reach_both_methods(demo):
    graph = demo.build_graph("forest", 7, 3)
    assert graph["prompt"]["inputs"]["text"] == "forest"
    settings = [dict(graph[method]["inputs"]) for method in demo.METHODS]
    assert all((inputs["seed"], inputs["steps"]) == (7, 3) for inputs in settings)
    assert settings[1].pop("guidance") == ["guidance", 0]
    assert settings[0] == settings[1]


def test_follower_keeps_seconds_by_node(demo):
    follower = demo.Follower(demo.build_graph("lake", 1, 1))
    for node in ("canvas", "syncdiffusion", None):
        follower("executing", {"node": node})
    follower("progress", {"node": "syncdiffusion", "value": 1, "max": 1})
    assert set(follower.seconds) == {"canvas", "syncdiffusion"}


def serve(listener: socket.socket, frames: list[bytes]) -> None:
    connection, _ = listener.accept()
    with connection:
        while b"\r\n\r\n" not in connection.recv(4096):
            pass
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + frames[0])
        for frame in frames[1:]:
            connection.sendall(frame)
        while connection.recv(4096):  # closing with its answer unread would reset the connection
            pass


def frame(opcode: int, payload: bytes, final: bool = True) -> bytes:
    size = len(payload)
    length = bytes([size]) if size < 126 else bytes([126]) + struct.pack("!H", size)
    return bytes([(0x80 if final else 0) | opcode]) + length + payload


def test_websocket_reads_whole_messages():
    frames = [
        frame(websocket.TEXT, b"first"),
        frame(websocket.BINARY, b"x" * 300),
        frame(websocket.TEXT, b"in ", final=False),
        frame(websocket.PING, b""),
        frame(0, b"parts"),
        frame(websocket.CLOSE, b""),
    ]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener, frames))
        thread.start()
        with websocket.WebSocket(f"http://127.0.0.1:{listener.getsockname()[1]}/ws?clientId=1") as opened:
            received = [message for message in opened.messages() if message is not None]
        thread.join()
    assert received == ["first", b"x" * 300, "in parts"]
