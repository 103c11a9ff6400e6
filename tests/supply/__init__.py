"""What Moiety is made of beside its own code: locked distributions, licences, bills of materials,
and the wheel.
"""
