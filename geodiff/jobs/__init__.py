"""What a user asks for; each job reads as its data flow."""
