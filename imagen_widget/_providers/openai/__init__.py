"""OpenAI's image routes: one request that is answered with the pictures."""
