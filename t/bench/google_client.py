"""Google's client signs URLs as fast as it can.

    python -m bench.google_client KEY BUCKET FOLDER FIRST SECONDS

As an application does: one client, and a Blob for each object.  Prints, in
JSON, how many, in how many seconds, and the last of them with its object.
"""

from __future__ import annotations

import json
import sys
import time

from google.cloud import storage
from google.oauth2 import service_account

TTL = 900


def main(key: str, bucket_name: str, folder: str, first: str,
         seconds: str) -> None:
    credentials = service_account.Credentials.from_service_account_file(key)
    bucket = storage.Client("bench", credentials).bucket(bucket_name)
    number, name, url = int(first), "", ""

    begin, cpu = time.monotonic(), time.process_time()
    end = begin + float(seconds)
    while time.monotonic() < end:
        number += 1
        name = f"{folder}{number:09}.jpg"
        url = bucket.blob(name).generate_signed_url(
            version="v4", expiration=TTL, method="GET")

    json.dump({"count": number - int(first), "object": name, "url": url,
               "seconds": time.monotonic() - begin,
               "cpu": time.process_time() - cpu}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
