"""A model server for the release store, with the APIs of TensorFlow Serving.

For laptops and tests. `server` starts it: `listeners` answer probes at once, and `services` puts
together what is behind them. There `manager` follows the store's `models.config` and loads
`servable`s, `scheduler` runs their signatures in batches, `grpc_api` and `rest_api` speak with
clients by way of `predictor`.
"""
