"""Running a model on images: backends behind one interface. Ultralytics inference lives here."""
