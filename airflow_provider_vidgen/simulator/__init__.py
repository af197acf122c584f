# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Simulator of the four video vendors on loopback, to try Dags free of charge and for tests.

Run ``python -m airflow_provider_vidgen.simulator`` and give a connection the base URL
``http://127.0.0.1:<port>/<vendor>`` and any API key that begins with ``sim-``. The account of the key
``sim-nofunds`` has no credit. Directives in a prompt set what its job does:

=============================== ================================================================
``[sim:fail=CODE:message]``     fails with this code and message, such as CONTENT_VIOLATION
``[sim:cancel]``                is cancelled (APIMart), or fails at vendors without that state
``[sim:stuck]``                 never ends
``[sim:fast]``                  is complete at the first poll
``[sim:slow=60]``               takes 60 virtual seconds
``[sim:state=halfway]``         has an undocumented state in the second half of its time
``[sim:progress=null]``         progress is ``null``, ``empty``, ``absent`` or ``decreasing``
``[sim:no_url=3]``              succeeds without a link for three polls
``[sim:link_delay=60]``         has a link that answers 404 for 60 virtual seconds after the end
``[sim:null_data=2]``           returns ``"data": null`` for two polls
``[sim:error_in_url]``          fails, with the error message in the link's field (Apixgo)
``[sim:videos=3]``              makes three videos
``[sim:thumbnail]``             makes a small JPEG as well
``[sim:container=webm]``        has a ``webm``, ``mov``, ``fragmented`` or ``mp4`` video
``[sim:image_size=600x800]``    size of a reference image that was not uploaded here (APIMart)
=============================== ================================================================

The control API under ``/__sim/`` sets everything else; its client is :class:`SimulatorClient`.
:class:`Simulator` is that client with a simulator in a thread of this process.
"""

from __future__ import annotations

from airflow_provider_vidgen.simulator.billing import request_hash
from airflow_provider_vidgen.simulator.client import SimulatorClient
from airflow_provider_vidgen.simulator.server import Simulator

__all__ = ["Simulator", "SimulatorClient", "request_hash"]
