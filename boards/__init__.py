"""Parts that the accelerator is synthesized for, and what each unit needs of them."""
