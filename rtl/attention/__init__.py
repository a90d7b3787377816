"""Softmax over a row of scores and the corner turn that makes keys the columns."""
