"""The two processes of 2018 that compute: backend.py starts them, app.py has them compute."""

import os

import tensorflow.compat.v1 as tf

ADDRESSES = os.environ["BACKENDS"].split(",")
SPEC = tf.train.ClusterSpec({"worker": ADDRESSES})
