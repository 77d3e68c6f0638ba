"""How a step is carried out: the stages, over protocols."""
