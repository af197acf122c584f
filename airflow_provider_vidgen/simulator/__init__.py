# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Four video vendors on loopback, for trying Dags and for tests: no key, no bill, no waiting.

Run ``python -m airflow_provider_vidgen.simulator`` and give a connection the base URL
``http://127.0.0.1:<port>/<vendor>`` with any API key that begins with ``sim-``. The key ``sim-nofunds`` has
no credit. Words in a prompt choose what happens to a job:

=========================== ====================================================================
``[sim:fail=CODE:words]``   it fails with this code and these words, such as CONTENT_VIOLATION
``[sim:cancel]``            it is cancelled (APIMart), or fails where a vendor has no such word
``[sim:stuck]``             it is worked on for ever
``[sim:fast]``              it is done at the first look
``[sim:slow=60]``           it takes 60 virtual seconds
``[sim:word=halfway]``      it says a state word of one's own in its second half, such as ``processing_r2``
``[sim:progress=null]``     its progress is ``null``, ``empty`` text or ``absent``
``[sim:backwards]``         its progress falls back at every other look
``[sim:nourl=3]``           three looks find it successful but without a link
``[sim:latelink=60]``       its link answers 404 for 60 virtual seconds after its end
``[sim:null=2]``            two looks find ``"data": null``
``[sim:errorurl]``          it fails, with the error text where the link would be (Apixgo)
``[sim:results=3]``         it makes three videos
``[sim:thumbnail]``         it makes a small JPEG besides
``[sim:container=webm]``    its video is ``webm``, ``mov``, ``fragmented`` or ``mp4``
``[sim:picture=600x800]``   the size of its reference image, where the simulator has not got it (APIMart)
=========================== ====================================================================

Everything else is chosen through the control API under ``/__sim/``, for which there is
:class:`SimulatorClient`; :class:`Simulator` is the same with a simulator in a thread of this process.
"""

from __future__ import annotations

from airflow_provider_vidgen.simulator.billing import request_hash
from airflow_provider_vidgen.simulator.client import SimulatorClient
from airflow_provider_vidgen.simulator.server import Simulator

__all__ = ["Simulator", "SimulatorClient", "request_hash"]
