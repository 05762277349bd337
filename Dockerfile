# The localizer on an official ROS image. Not built by the project's own tests: they have no Docker.
#   docker build -t mspr_ros .
#   docker run --rm --net=host --ipc=host -v /maps:/maps mspr_ros \
#       ros2 launch mspr_ros localize.launch.py bundle:=/maps/my_places camera:=/camera
# (--ipc=host: Fast DDS shares memory with the camera's process. A GPU: --gpus all.)
ARG ROS_DISTRO=jazzy
FROM ros:${ROS_DISTRO}-ros-base

RUN apt-get update && apt-get install -y --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /ws
COPY . src/mspr_ros
RUN apt-get update && . /opt/ros/${ROS_DISTRO}/setup.sh \
    && rosdep update --rosdistro ${ROS_DISTRO} \
    && rosdep install --from-paths src --ignore-src -y && rm -rf /var/lib/apt/lists/*
# Beside the system's ROS packages; cv_bridge up to Kilted is compiled against NumPy 1. Where the
# system's NumPy is 2 (Lyrical): --build-arg NUMPY_PINS=
ARG NUMPY_PINS="numpy<2 opencv-python-headless<4.12"
RUN python3 -m venv --system-site-packages .venv && touch .venv/COLCON_IGNORE \
    && .venv/bin/pip install --no-cache-dir -r src/mspr_ros/requirements.txt \
       ${NUMPY_PINS} "setuptools>=70.1,<80"
RUN . /opt/ros/${ROS_DISTRO}/setup.sh && . .venv/bin/activate \
    && colcon build --packages-select mspr_ros
RUN printf '#!/bin/bash\nset -e\nsource /ws/.venv/bin/activate\nsource /ws/install/setup.bash\nexec "$@"\n' \
    > /entrypoint.sh && chmod +x /entrypoint.sh
ENTRYPOINT ["/entrypoint.sh"]
CMD ["ros2", "launch", "mspr_ros", "localize.launch.py"]
