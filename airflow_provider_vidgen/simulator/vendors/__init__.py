# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""The four vendors from their documents, written independently of the package's own vendor code."""

from __future__ import annotations

from typing import Final

from airflow_provider_vidgen.simulator.vendors.apimart import ApiMart
from airflow_provider_vidgen.simulator.vendors.apimodels import ApiModels
from airflow_provider_vidgen.simulator.vendors.apixgo import Apixgo
from airflow_provider_vidgen.simulator.vendors.apixo import Apixo
from airflow_provider_vidgen.simulator.vendors.base import SimulatedVendor

VENDORS: Final[tuple[SimulatedVendor, ...]] = (ApiModels(), Apixo(), Apixgo(), ApiMart())
