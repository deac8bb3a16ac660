"""Settings of every test process."""

import os

# The runner starts one worker per core; numerical libraries that each take all cores on top of that
# spend their time waiting for each other. Set before any of them is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
