"""The read side: what people and programs see."""
