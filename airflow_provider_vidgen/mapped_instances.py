# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Names instead of numbers for the instances of a mapped task, if its Dag sets no ``map_index_template``."""

from __future__ import annotations

import inspect
import logging
from typing import Any

_log = logging.getLogger(__name__)

#: The name is a variable of the template and not the template: a prompt may contain Jinja.
_VARIABLE = "vidgen_instance_name"
_TEMPLATE = f"{{{{ {_VARIABLE} }}}}"


class NamesMappedInstances:
    """
    Names the instances of an operator when its arguments are rendered, before it is executed.

    So the grid shows the names while the tasks wait. A base class of operators and sensors.

    It overrides a method that is private to Airflow, because no other renders the arguments of a mapped task
    (seen on Airflow 3.3.2). Without that method the instances keep their numbers.
    """

    def _do_render_template_fields(
        self, parent: Any, template_fields: Any, context: Any, jinja_env: Any, seen_oids: Any
    ) -> None:
        super()._do_render_template_fields(  # type: ignore[misc]
            parent, template_fields, context, jinja_env, seen_oids
        )
        # It is also called for objects in the arguments that have template fields of their own.
        if parent is self:
            _name_instance(self, context)


def _name_instance(operator: Any, context: Any) -> None:
    """Set the template of a mapped instance's name, unless the Dag does; it never fails a task."""
    is_mapped = getattr(context.get("ti"), "map_index", None) not in (None, -1)
    if not is_mapped or context.get("map_index_template") is not None:
        return
    # Lazy: parsing a Dag needs neither.
    from airflow_provider_vidgen.airflow_internals import mapped_arguments
    from airflow_provider_vidgen.instance_names import instance_name

    try:
        defaults = inspect.signature(type(operator).__init__).parameters
        known = mapped_arguments(context)
        arguments = {
            name: value
            for name in known
            if (value := getattr(operator, name, None)) is not None
            and not (name in defaults and value == defaults[name].default)
        }
        name = instance_name(arguments, {name: values for name, values in known.items() if values})
    except Exception as error:
        _log.warning(
            "The mapped instance keeps its number, as no name could be made (%s)", type(error).__name__
        )
        return
    if name:
        context[_VARIABLE] = name
        context["map_index_template"] = _TEMPLATE
