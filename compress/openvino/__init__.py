"""OpenVINO's models (an `.xml` with its weights in a `.bin`), and NNCF, its quantiser."""
