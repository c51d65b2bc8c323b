"""The 2018 system's web server: each request is one run of the graph, whose layers are placed on two servers.

    gunicorn -w 2 -k eventlet -b 127.0.0.1:$PORT app:app

Its graph, its tokenisation and how it is served are kept. What TensorFlow dropped since is replaced: the RNN cell
is written out, and the weights come from arrays instead of a checkpoint.
"""

import json
import os
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf
from cluster import ADDRESSES
from flask import Flask, request

SLOTS, UNKNOWN = 50, 3
LABELS = ["negative", "positive"]

tf.disable_v2_behavior()
folder = Path(os.environ["WEIGHTS"])
words = json.loads((folder / "dictionary.json").read_text())
weights = np.load(folder / "weights.npz")


class BasicCell:
    """h = tanh([x, h] · kernel + bias), as BasicRNNCell computed it."""

    def __init__(self) -> None:
        self.kernel = variable("rnn_kernel")
        self.bias = variable("rnn_bias")
        self.state_size = self.output_size = weights["rnn_bias"].shape[0]

    def zero_state(self, batch, dtype):
        return tf.zeros([batch, self.state_size], dtype)

    def __call__(self, x, h, scope=None):
        h = tf.tanh(tf.nn.bias_add(tf.matmul(tf.concat([x, h], 1), self.kernel), self.bias))
        return h, h


def variable(name: str):
    return tf.get_variable(name, initializer=tf.constant(weights[name]))


X = tf.placeholder(tf.int32, [None, None])
embedding = variable("embedding")
with tf.device("/job:worker/task:0"):
    states, _ = tf.nn.dynamic_rnn(BasicCell(), tf.nn.embedding_lookup(embedding, X), dtype=tf.float32)
with tf.device("/job:worker/task:1"):
    logits = tf.add(tf.matmul(states[:, -1], variable("output_weight")), variable("output_bias"))
session = tf.Session("grpc://" + ADDRESSES[0])
session.run(tf.global_variables_initializer())

app = Flask(__name__)


@app.route("/", methods=["GET"])
def classify() -> str:
    x = np.zeros((1, SLOTS))
    for i, word in enumerate(request.args.get("text").split()[:SLOTS][::-1]):
        x[0, -1 - i] = words.get(word, UNKNOWN)
    return LABELS[np.argmax(session.run(logits, feed_dict={X: x})[0])]
