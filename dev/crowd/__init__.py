# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Many deferred tasks in one triggerer, brought there without a worker for each, and what is seen of them."""
