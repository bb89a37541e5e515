"""A student distilled from hard labels and a teacher's soft ones, or from several students."""
