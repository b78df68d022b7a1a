"""The domain: nouns and laws of the feedback loop, in pure Python, NumPy and SciPy.

Nothing here knows of Ray, Gradio, MLflow, SQL or Ultralytics. Use cases take what they need
through the protocols in ``loop.ports``.
"""
