# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
An SFTP server on loopback with a folder as its root: ``python -m dev.servers.sftp_server PORT FOLDER``.

Its only account is ``local`` with the password ``local``; it has no write permission in ``/read-only``.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import asyncssh

from dev.loopback import HOST


class _Authentication(asyncssh.SSHServer):
    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == ("local", "local")


class _Files(asyncssh.SFTPServer):
    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> Any:
        if path.startswith(b"/read-only/") and pflags & asyncssh.FXF_WRITE:
            raise asyncssh.SFTPPermissionDenied("Permission denied")
        return super().open(path, pflags, attrs)


async def serve(port: int, folder: str) -> None:
    """Serve until the process ends."""
    server = await asyncssh.create_server(
        _Authentication,
        HOST,
        port,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        sftp_factory=lambda connection: _Files(connection, chroot=folder.encode()),
    )
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2]))
