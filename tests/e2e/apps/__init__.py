"""Apps that the end-to-end tests serve. Hooks write what they see to the file HOOK_LOG."""
