# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The chaos run: inject faults at every step of a video generation, then check the vendors' billing.

``python -m dev.chaos`` prints the result as a matrix, see :mod:`dev.chaos.__main__`.
"""
