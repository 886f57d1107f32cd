"""TensorFlow Datasets builders of the hand sets that TFDS lacks; data are brought by hand, see each builder's text.

    import handpose_jax.data.builders.rhd
    import tensorflow_datasets as tfds

    builder = tfds.builder("rhd", file_format="array_record")
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir="/data/RHD_published_v2"))
    hands = builder.as_data_source("train")

Thin over `handpose_jax.data.sets`, which does the reading. Training does not need these: it reads the sets' own
folders, and the records of `launch.data prepare`.
"""
