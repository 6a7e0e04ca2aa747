"""What a link will carry a moment from now, from what it carried: one interface, several methods.

docs/prediction.md says which, and when hosts use them.
"""
