"""What a node has told its user."""


def said(host: object) -> str:
    """All texts that were sent under nodes, in one."""
    texts = [data for _, data in host.server.events if isinstance(data, bytes)]
    return b"\n".join(texts).decode("utf-8", errors="ignore")
