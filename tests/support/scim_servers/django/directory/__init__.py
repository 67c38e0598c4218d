"""The application whose accounts django-scim2 serves."""
