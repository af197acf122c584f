# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""The examples of the five vendor documents, byte for byte: requests, and responses for finished jobs."""

from __future__ import annotations

from typing import Any

#: Requests: vendor and body.
EXAMPLES: dict[str, tuple[str, str]] = {
    "APIModels documents, create": (
        "apimodels",
        """{
"model": "grok-video-3",
"prompt": "A cat playing piano in a jazz club, cinematic lighting",
"aspect_ratio": "16:9"
}""",
    ),
    "Apixo document, text to video": (
        "apixo",
        """{
    "request_type": "async",
    "input": {
      "mode": "text-to-video",
      "prompt": "a peaceful lakeside at sunset with gentle waves",
      "duration": 6,
      "resolution": "480p",
      "aspect_ratio": "3:2",
      "style": "normal"
    }
  }""",
    ),
    "Apixo document, reference image": (
        "apixo",
        """{
    "request_type": "async",
    "provider": "value",
    "input": {
      "mode": "image-to-video",
      "prompt": "make this scene into a short cinematic pan",
      "duration": 6,
      "resolution": "480p",
      "image_urls": ["https://example.com/ref.jpg"],
      "style": "fun"
    }
  }""",
    ),
    "Apixo document, continuation": (
        "apixo",
        """{
    "request_type": "callback",
    "callback_url": "https://your-server.com/callback",
    "provider": "official",
    "input": {
      "mode": "image-to-video",
      "prompt": "turn this character into a walking animation",
      "duration": 10,
      "resolution": "720p",
      "task_id": "task_previous_grok_image",
      "index": 0,
      "style": "spicy"
    }
  }""",
    ),
    "Apixgo document, text to video": (
        "apixgo",
        """{
    "model": "grok-image-video",
    "prompt": "A cinematic shot of a red sports car driving through rainy neon streets at night",
    "seconds": 6,
    "aspect_ratio": "16:9",
    "resolution": "720p"
  }""",
    ),
    "Apixgo document, one reference image": (
        "apixgo",
        """{
    "model": "grok-image-video",
    "prompt": "Animate the product with a slow rotating camera, soft studio light, premium commercial style",
    "seconds": 6,
    "aspect_ratio": "9:16",
    "resolution": "720p",
    "image_urls": [
      "https://example.com/product.png"
    ]
  }""",
    ),
    "Apixgo document, two reference images": (
        "apixgo",
        """{
    "model": "grok-image-video",
    "prompt": "Create a smooth product showcase video using these references, luxury lighting, clean background",
    "seconds": 10,
    "aspect_ratio": "16:9",
    "resolution": "720p",
    "image_urls": [
      "https://example.com/ref-1.png",
      "https://example.com/ref-2.png"
    ]
  }""",  # noqa: E501 - byte for byte as in the document
    ),
    "APIMart document, both curl examples": (
        "apimart",
        """{
    "model": "grok-imagine-1.0-video-apimart",
    "prompt": "A dog running on the beach, sunny weather, slow motion",
    "size": "16:9",
    "duration": 6,
    "quality": "720p"
  }""",
    ),
    "APIMart document, case 1": (
        "apimart",
        """{
  "model": "grok-imagine-1.0-video-apimart",
  "prompt": "A dog running on the beach, sunny weather, slow motion",
  "size": "16:9",
  "duration": 6
}""",
    ),
    "APIMart document, case 2": (
        "apimart",
        """{
  "model": "grok-imagine-1.0-video-apimart",
  "prompt": "Bring the scene to life with natural dynamic effects",
  "image_urls": ["https://example.com/start.png"],
  "size": "16:9",
  "duration": 10,
  "quality": "720p"
}""",
    ),
}

#: Responses for finished jobs: vendor, prompt directive, options, and the example.
RESULTS: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "APIModels documents, success": (
        "apimodels",
        "",
        {},
        """{
"code": 200,
"msg": "success",
"data": {
"taskId": "clxxx...",
"state": "completed",
"resultUrls": ["https://cdn.example.com/video.mp4"],
"createTime": 1705123450000,
"completeTime": 1705123500000
}
}""",
    ),
    "APIModels documents, failure": (
        "apimodels",
        "[sim:fail=X]",
        {},
        """{
"code": 200,
"msg": "success",
"data": {
"taskId": "clxxx...",
"state": "failed",
"failMsg": "Content policy violation"
}
}""",
    ),
    "Apixo document, success": (
        "apixo",
        "",
        {},
        """{
  "code": 200,
  "message": "success",
  "data": {
    "taskId": "task_12345678",
    "state": "success",
    "resultJson": "{\\"resultUrls\\":[\\"https://r2.apixo.ai/video.mp4\\"]}",
    "createTime": 1767965610929,
    "completeTime": 1767965652317,
    "costTime": 41388
  }
}""",
    ),
    "Apixo document, failure": (
        "apixo",
        "[sim:fail=CONTENT_VIOLATION]",
        {},
        """{
  "code": 200,
  "message": "success",
  "data": {
    "taskId": "task_12345678",
    "state": "failed",
    "failCode": "CONTENT_VIOLATION",
    "failMsg": "Content does not meet safety guidelines"
  }
}""",
    ),
    "Apixgo document, success": (
        "apixgo",
        "",
        {},
        """{
  "code": "success",
  "message": "",
  "data": {
    "task_id": "task_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "status": "SUCCESS",
    "progress": "100%",
    "result_url": "https://example.com/generated-video.mp4",
    "fail_reason": ""
  }
}""",
    ),
    "Apixgo document, failure": (
        "apixgo",
        "[sim:fail=X]",
        {},
        """{
  "code": "success",
  "message": "",
  "data": {
    "task_id": "task_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "status": "FAILURE",
    "progress": "100%",
    "result_url": "",
    "fail_reason": "Image URL could not be fetched: Fetching image failed with HTTP status 400 Bad Request."
  }
}""",
    ),
}

#: The result object of APIModels' callback, with every field.
APIMODELS_RESULT = """{
"resultUrls": ["https://r2.apimodels.app/videos/xxx.mp4"],
"thumbnailUrl": "https://...jpg",
"videoSize": "1280x720",
"videoDuration": 5,
"videoModel": "veo3"
}"""
