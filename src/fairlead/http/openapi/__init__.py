"""The OpenAPI document of what is served: `document` makes it."""
