# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The chaos run: crash everything at every point of a video's way, and read the vendors' books afterwards.

``python -m dev.chaos`` prints the matrix, see :mod:`dev.chaos.__main__`.
"""
