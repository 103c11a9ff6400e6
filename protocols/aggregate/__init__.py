"""Statistics of a cohort on shares: of each label the area under the ROC curve and its standard
error, or how many decisions are right, and nothing of any image.
"""
