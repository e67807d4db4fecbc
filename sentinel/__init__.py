"""The sentinel: has NATS choose new leaders soon when a server dies. It elects nobody itself."""
