"""What results say, in words and pictures: for report, model_card and the demo."""
