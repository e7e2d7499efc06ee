"""The whole product as people meet it: servers, a scheduler, workers, a browser; make test-e2e."""
