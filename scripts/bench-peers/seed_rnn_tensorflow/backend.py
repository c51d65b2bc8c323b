"""A TensorFlow server, of rank 0 or 1.

    python backend.py RANK
"""

import sys

import tensorflow.compat.v1 as tf
from cluster import SPEC

tf.train.Server(SPEC, job_name="worker", task_index=int(sys.argv[1])).join()
