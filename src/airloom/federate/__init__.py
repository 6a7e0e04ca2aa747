"""Collaborative learning: copies of a model that learn at several places and merge what they learned.

rounds.train_rounds       federated rounds (FedAvg) over local data
qmix.train_qmix           agents that learn to act together, merged in a central mixer
"""
