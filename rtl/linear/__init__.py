"""The compute unit: events in, accumulators out, requantized words behind them."""
