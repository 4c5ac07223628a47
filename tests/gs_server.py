"""A server that speaks Google's JSON API, for ``gs://``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import fsspec
import pytest

__all__ = ["gs_server"]


@contextlib.contextmanager
def gs_server(bucket: str) -> Iterator[None]:
    """Serve an empty bucket from memory, where gcsfs looks for it."""
    server = pytest.importorskip("gcp_storage_emulator.server", reason="needs gcp-storage-emulator: make test-ray")
    from gcp_storage_emulator.exceptions import NotFound
    from gcp_storage_emulator.handlers import objects

    upload = objects._multipart_upload

    def upload_if_it_may(request: Any, response: Any, storage: Any) -> None:
        """Google creates an object only if there is none when asked so, which this server does not know."""
        if request.query.get("ifGenerationMatch") == ["0"]:
            with contextlib.suppress(NotFound):
                storage.get_file_obj(request.params["bucket_name"], request.data["meta"]["name"])
                response.status = HTTPStatus.PRECONDITION_FAILED
                return
        upload(request, response, storage)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # asks Google itself what kind of bucket it is
        pytest.importorskip("gcsfs", reason="needs gcsfs: make test-ray")
        patch.setattr(objects, "_multipart_upload", upload_if_it_may)
        patch.setattr(server.server.HTTPServer, "handle_error", lambda *_: None)  # clients may hang up
        running = server.create_server("127.0.0.1", 0, in_memory=True, default_bucket=bucket)
        running.start()
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{running._api._httpd.server_address[1]}")
        fsspec.get_filesystem_class("gs").clear_instance_cache()
        try:
            yield
        finally:
            fsspec.get_filesystem_class("gs").clear_instance_cache()
            running.stop()
