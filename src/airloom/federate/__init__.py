"""Collaborative learning: copies of a model that learn at several places and merge what they learned.

rounds.train_rounds       federated rounds (FedAvg) over local data, clients whole or split
split.SplitLearner        a client's model in the stages of a plan
averaging.weighted_mean   several models made one
qmix.train_qmix           agents that learn to act together through a central mixer
"""
