"""Which files are taken, and as what: by their MIME type, or by their extension where it says
nothing. The lists are those of AgentOS.
"""

from teambus.contracts.media import MediaKind

_OFFICE = "application/vnd.openxmlformats-officedocument"

DOCUMENTS: dict[str, str] = {
    "pdf": "application/pdf",
    "json": "application/json",
    "js": "text/javascript",
    "docx": f"{_OFFICE}.wordprocessingml.document",
    "doc": "application/msword",
    "pptx": f"{_OFFICE}.presentationml.presentation",
    "ppt": "application/vnd.ms-powerpoint",
    "xlsx": f"{_OFFICE}.spreadsheetml.sheet",
    "xls": "application/vnd.ms-excel",
    "msg": "application/vnd.ms-outlook",
    "zip": "application/zip",
    "eml": "message/rfc822",
    "py": "text/x-python",
    "txt": "text/plain",
    "html": "text/html",
    "htm": "text/html",
    "css": "text/css",
    "md": "text/markdown",
    "markdown": "text/markdown",
    "csv": "text/csv",
    "xml": "text/xml",
    "rtf": "text/rtf",
}
"""The type of each extension of documents."""
_IMAGES = ("png", "jpg", "jpeg", "gif", "webp", "bmp", "tiff", "tif", "avif", "heic", "heif")
_AUDIO = ("wav", "mp3", "ogg", "m4a", "aac", "flac")
_VIDEO = ("flv", "mov", "mpeg", "mpg", "mp4", "webm", "wmv", "3gp")
_AUDIO_TYPES = ("wav", "wave", "mp3", "mpeg", "ogg", "mp4", "m4a", "aac", "flac")
_VIDEO_TYPES = (
    *("x-flv", "quicktime", "mpeg", "mpegs", "mpgs", "mpg"),
    *("mp4", "webm", "wmv", "3gpp"),
)
_ALIASES = {
    "application/x-zip": "application/zip",
    "application/x-zip-compressed": "application/zip",
    "application/xml": "text/xml",
    "application/rtf": "text/rtf",
    "application/javascript": "text/javascript",
}
_SAYS_NOTHING = ("", "application/octet-stream")

DOCUMENT_TYPES = frozenset(
    {*DOCUMENTS.values(), "application/x-javascript", "application/x-python"}
)
_KIND_OF_TYPE: dict[str, MediaKind] = {
    **{f"image/{name}": "image" for name in _IMAGES},
    **{f"audio/{name}": "audio" for name in _AUDIO_TYPES},
    **{f"video/{name}": "video" for name in _VIDEO_TYPES},
    **dict.fromkeys(DOCUMENT_TYPES, "file"),
}
SHOWN_TYPES = frozenset({*_KIND_OF_TYPE} - DOCUMENT_TYPES | {"application/pdf", "text/plain"})
"""Types that a browser may be given as they are, for it runs none of them."""
_KIND_OF_EXTENSION: dict[str, MediaKind] = {
    **dict.fromkeys(DOCUMENTS, "file"),
    **dict.fromkeys(_IMAGES, "image"),
    **dict.fromkeys(_AUDIO, "audio"),
    **dict.fromkeys(_VIDEO, "video"),
}


def kind_of(content_type: str, filename: str) -> MediaKind | None:
    """What an upload is; None when it is not taken."""
    kind = _KIND_OF_TYPE.get(normal(content_type))
    if kind is None and content_type in _SAYS_NOTHING:
        return _KIND_OF_EXTENSION.get(extension(filename))
    return kind


def type_of(kind: MediaKind, content_type: str, filename: str) -> str | None:
    """The MIME type of an upload of this kind, as far as it is known."""
    named = normal(content_type)
    if kind == "file" and named not in DOCUMENT_TYPES:
        return DOCUMENTS.get(extension(filename))
    if named in _SAYS_NOTHING:
        return None
    return named


def format_of(content_type: str, filename: str) -> str | None:
    """The extension, or the second half of the type."""
    return extension(filename) or normal(content_type).partition("/")[2] or None


def normal(content_type: str) -> str:
    """One name of each type."""
    return _ALIASES.get(content_type, content_type)


def extension(filename: str) -> str:
    return filename.rpartition(".")[2].lower() if "." in filename else ""
