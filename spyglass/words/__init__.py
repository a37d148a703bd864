"""Words that all views share: units, escaped text, how calls and places are written."""
