"""A small and strict emulator of the Google services that the module uses.

    from emulator import Emulator

    with Emulator() as google:
        google.create_bucket("demo-bucket")
        google.put_object("demo-bucket", "a.txt", b"hello")
        key = google.service_account(grants={"demo-bucket": ["objectViewer"]})
"""

from .client import Emulator, EmulatorError, Key, signing_key
from .identities import ProviderInfo, ec_key
from .objects import content, crc32c

__all__ = ["Emulator", "EmulatorError", "Key", "ProviderInfo", "content",
           "crc32c", "ec_key", "signing_key"]
