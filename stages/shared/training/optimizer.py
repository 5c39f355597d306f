"""RMSprop in one pass over memory, and the decay of its learning rate."""

import keras
import numpy as np
import tensorflow as tf


class RMSprop(keras.optimizers.RMSprop):
    """keras.optimizers.RMSprop, with TensorFlow's own kernel for the update of a weight.

    Keras composes the update of a dozen operations, each of which reads and writes whole weight
    tensors: at a batch of 20 that takes longer than the arithmetic of a dense layer on flattened
    features. The kernel gives the same weights; without momentum its accumulators carry nothing over.
    """

    def build(self, var_list: list) -> None:
        super().build(var_list)
        self._accumulators = [tf.Variable(tf.zeros(variable.shape)) for variable in var_list]

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyRMSProp(
            var=variable.handle,
            ms=self._velocities[index].value.handle,
            mom=self._accumulators[index].handle,
            lr=learning_rate,
            rho=self.rho,
            momentum=0.0,
            epsilon=self.epsilon,
            grad=gradient,
        )


class CosineDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that falls to 0 over `steps` along half a cosine.

    Source: Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts (2017).
    As keras.optimizers.schedules.CosineDecay, whose constants TensorFlow multiplies with one another in
    some graphs and not in others, which changes the last bit: here they are multiplied before.
    """

    def __init__(self, rate: float, steps: int) -> None:
        self.rate = rate
        self.radians = np.float32(np.pi) / np.float32(steps)  # a step

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        return self.rate * (0.5 * (1 + tf.cos(tf.cast(step, "float32") * self.radians)))
