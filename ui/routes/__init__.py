"""The app's own JSON routes, beside the Gradio pages: what the page's scripts talk to."""
