"""What results say, in words and heat maps: for report, model_card and the demo."""
