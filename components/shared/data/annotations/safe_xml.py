"""Parse XML that may be malicious: a document type and entities are refused, because they can expand without limit."""

from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from components.shared.errors import InputError


def parse_xml(path: Path) -> Element:
    """Parse an XML file.

    Raises:
        InputError: The file cannot be read, is not whole, or declares a document type, which entities need.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data

    def refuse(*arguments: object) -> None:
        raise InputError(f"{path} declares a document type, which is refused, because it can hide an attack; remove it")

    parser.StartDoctypeDeclHandler = refuse
    try:
        with open(path, "rb") as file:
            parser.ParseFile(file)
        return builder.close()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check the path") from error
    except expat.ExpatError as error:
        raise InputError(f"{path} is not valid XML: {error}; export it again") from error
