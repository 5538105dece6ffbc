"""A shop that never was, whose truth is known: tastes, replenishment, seasons, new items and a day of drift.

A user has a taste per category, a style that items match more or less, and staples that they buy again when their
cycle is over. Categories have a season and a companion that goes into the same basket. On the day of drift some users'
tastes, styles and staples are drawn anew.
"""
