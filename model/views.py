"""A model's layers at another size of image: FlexUNet is fully convolutional."""

from __future__ import annotations

import keras


class Views:
    """A model for images of any size that its depth allows, its weights being the same ones.

    Keras refuses images of another size than a model was built for, and a model that is built
    without a size would lose the shapes that exports and fast kernels go by.

    Args:
        model: From ``build_flexunet``.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._views = {tuple(model.input_shape[1:]): model}

    def of(self, image_shape: tuple[int, int, int]) -> keras.Model:
        """Return the model for images of a size, (height, width, channels) in pixels.

        Its layers, and so its variables in their order, are those of the model itself.
        """
        if image_shape not in self._views:
            image = keras.Input(image_shape, name="image", dtype="float32")
            self._views[image_shape] = keras.models.clone_model(
                self._model, input_tensors=image, clone_function=lambda layer: layer
            )
        return self._views[image_shape]
