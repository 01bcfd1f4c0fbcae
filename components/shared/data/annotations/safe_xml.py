"""Parse XML that may be malicious.

A document type is refused, because it can define entities that expand without limit. Deep nesting is refused too.
"""

from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from components.shared.errors import InputError

DEEPEST = 32  # elements inside each other


def parse_xml(path: Path) -> Element:
    """Parse an XML file.

    Raises:
        InputError: The file cannot be read, is not valid XML, is nested too deeply, or declares a document type.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    open_elements = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal open_elements
        open_elements += 1
        if open_elements > DEEPEST:
            raise InputError(f"{path} nests more than {DEEPEST} elements inside each other; export it again")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal open_elements
        open_elements -= 1
        builder.end(tag)

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data

    def refuse(*arguments: object) -> None:
        raise InputError(f"{path} declares a document type, which can hide an attack; remove the line <!DOCTYPE …>")

    parser.StartDoctypeDeclHandler = refuse
    try:
        with open(path, "rb") as file:
            parser.ParseFile(file)
        return builder.close()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check the path") from error
    except expat.ExpatError as error:
        raise InputError(f"{path} is not valid XML: {error}; export it again") from error
